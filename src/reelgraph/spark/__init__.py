"""Scale-out: lists of every user by Spark, training in several processes."""
