"""Which labels are doubtful, and what people decide of them."""
