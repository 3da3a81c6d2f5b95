"""The pages of the site, a file each: its `SECTION`, found by its name. The template is NAME.html.j2."""
