"""How deliveries come in. receive and what it imports are of the standard library only."""
