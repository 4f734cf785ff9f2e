"""A live call goes from one transceiver process to another, and its caller notices nothing."""
