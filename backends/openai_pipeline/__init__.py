"""Models behind OpenAI-compatible HTTP: transcription, chat and speech, each a server of its own.

/v1/audio/transcriptions   a turn at a time, as WAV
/v1/chat/completions       streamed
/v1/audio/speech           streamed, as raw PCM
"""
