"""Who answers the held-out rows, and what the answers are worth."""
