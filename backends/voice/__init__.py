"""The local agent: small open models on this machine behind the conversation engine."""
