"""What people look at after a run: reads a campaign, changes nothing in it."""
