"""Systems are tried before any job: what their classes say, and what their methods do."""
