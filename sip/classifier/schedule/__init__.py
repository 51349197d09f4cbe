"""How the learning rate goes over the budget of steps, once it is warm."""
