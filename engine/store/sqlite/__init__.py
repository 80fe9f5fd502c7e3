"""What only SQLite needs: its files, locks and signs of life, its migrations, backups and readers."""
