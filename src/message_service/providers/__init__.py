"""Who answers: one contract, one file a vendor."""
