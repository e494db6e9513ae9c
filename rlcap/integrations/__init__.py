"""What other libraries take of rlcap."""
