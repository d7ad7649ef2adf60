"""What tokens cost: a dated table of prices, in integers. Pure."""
