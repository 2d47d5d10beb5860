"""What has been shown about a backup, and the drills that show it."""
