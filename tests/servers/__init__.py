"""Real servers for tests; every one listens on 127.0.0.1 and ends with the test process."""
