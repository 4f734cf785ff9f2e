"""What secures a call on its way: ICE, DTLS, SRTP."""
