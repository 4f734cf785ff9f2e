"""Callers, one family: what all share stands here once.

    sdp, dtls      an offer and what an answer says; one association over memory BIOs
    voice          RTP and SRTP of one caller
    caller         these three without a socket: packets in, packets out, keys at the end
    timed_socket   UDP with the kernel's receive times;  port: behind a network, if there is one
    connecting     a caller behind a port, from its first check to its keys
    calling        a call from its offer to its hang-up

    light_caller   a few packets, echoed (`sequence`)
    talking        speech on a 20 ms grid, and an ear (`voice`)
    aiortc_caller  a stock aiortc client (`call`)
    opus_packets   Opus made ahead of time

Others put a `Caller` on a link of their own: `live.call` behind a bad network, `media_bench.crowd`
hundreds of them in a thread without a loop.
"""
