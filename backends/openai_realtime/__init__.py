"""A bridge from a call to a Realtime API over WebSocket: OpenAI's, or any that speaks it.

caller ─ sound, events ─▶ Bridge ─ input_audio_buffer.append, events ─▶ upstream
       ◀─ sound, events ─        ◀─ response.output_audio.delta, events ─
"""
