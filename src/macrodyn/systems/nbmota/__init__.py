"""A bcc alloy of Nb, Mo and Ta, whose atoms move by jumps of vacancies."""
