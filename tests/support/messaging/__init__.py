"""Real brokers and realtime servers, clients of both, and the schemas of what is published."""
