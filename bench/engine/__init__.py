"""Plan -> cells -> executor -> store."""
