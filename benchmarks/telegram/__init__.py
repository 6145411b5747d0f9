"""What a fleet costs over the Telethon clients in it."""
