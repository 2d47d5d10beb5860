"""What the bytes in the bucket mean: backups, their names, their catalogue. The bucket is the catalogue."""
