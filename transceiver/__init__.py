"""The session owner: ICE-lite, DTLS, SRTP, data channels, signaling and the model link."""
