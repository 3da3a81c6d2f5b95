"""A history of revisions as a page, a picture and tables."""
