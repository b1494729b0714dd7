"""The stages of a campaign, the workers that run them, and the command line."""
