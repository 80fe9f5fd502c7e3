"""A store on a PostgreSQL server, which workers on several machines share."""
