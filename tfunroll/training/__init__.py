"""Training of steppers with a network: four pure functions, the Trainer that loops over them."""
