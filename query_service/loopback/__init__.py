"""A realtime server for one machine that speaks enough of the Ably protocol for the official SDKs."""
