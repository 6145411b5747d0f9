"""What the server answers, one service for each area of Telegram's API."""
