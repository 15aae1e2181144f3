"""Sound from chunks: fetched, cut, decrypted, exported."""
