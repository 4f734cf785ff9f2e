"""The harness: scenarios that place real calls and measure them."""
