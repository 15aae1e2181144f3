"""One connection to Ably, and the tokens for it."""
