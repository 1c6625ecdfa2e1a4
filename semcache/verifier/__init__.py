"""Would the answer to this cached prompt be right for that one?

    prompt ────read──▶ Reading ─┐
                                ├─▶ guards ──▶ a reason to refuse, or none
    candidate ─read──▶ Reading ─┤
    similarity ─────────────────┴─▶ features ──▶ trees ──▶ score (log odds)

1. `Verifier.verify(prompt, candidate_prompt, similarity)` answers with a `Verdict`: a score, and the guard that
   refuses or None. A refused candidate is never served, whatever its score, and is left out of calibration.
2. Guards are rules with a reason that can be told; each looks for one difference after which the answer is wrong
   nearly always. Trees weigh everything else, as fitted by `python -m bench.quality.fit`.
3. A score has no unit until `semcache.calibration` makes a confidence of it: the same score means more in a
   namespace of short questions than in one of code.
4. Word lists are English. Numbers, identifiers, addresses and quoted code are read in every language; what else
   differs in another language is left to similarity and trees, which then see words that they have no weight for
   and score lower.
5. Everything here is pure and bounded: a prompt longer than `CHARACTERS_MAX` is refused and not read.
"""
