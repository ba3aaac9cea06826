"""The only writer: an event comes in, a rule decides, the result is saved, published and carried out."""
