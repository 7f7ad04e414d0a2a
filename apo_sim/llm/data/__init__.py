"""From prompts to preference pairs: responses, what ranks them, and the arrays of a batch."""
