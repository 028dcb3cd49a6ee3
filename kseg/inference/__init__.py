"""A trained network put to use: photos, folders and films in, masks and everything made of them out."""
