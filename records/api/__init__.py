"""The record over HTTP: calls and their stories, for operators and for holders of API keys.

request ─▶ problems ─▶ who asks ─▶ handler ─▶ Reader (threads) ─▶ store
                                      └─▶ views (dataclasses) ─▶ JSON, and the OpenAPI document
"""
