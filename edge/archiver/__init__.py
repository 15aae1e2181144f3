"""From finished chunk to verified archive."""
