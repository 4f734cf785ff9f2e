"""Live callers: real WebRTC clients that talk for as long as asked, hundreds on one core."""
