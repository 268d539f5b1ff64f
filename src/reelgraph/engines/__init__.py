"""DuckDB and Spark behind one DataFrame API."""
