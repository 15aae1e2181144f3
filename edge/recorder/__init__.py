"""From sound card to finished chunk."""
