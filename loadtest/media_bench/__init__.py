"""What the media engine's scenarios share: callers with real keys, exact pacing, lateness."""
