"""The paper's claims by name, and the verdict on one of them."""

from hypothesis import settings

from analysis.claims.judge import judge
from analysis.claims.reader import paper_claims

CLAIMS = {claim.id: claim for claim in paper_claims()}

LAWS = settings(max_examples=50, deadline=None, derandomize=True, database=None)


def verdict(study, name, latent=None):
    return judge(study, [CLAIMS[name]], latent)[0]
