"""A realtime server for one machine that speaks as much of the Ably protocol as the official SDKs need here."""
