"""The report as one HTML file, which a browser opens from disk and which loads nothing."""
