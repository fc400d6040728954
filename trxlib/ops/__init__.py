"""Operations on whole tractograms: select, concatenate, resize."""
