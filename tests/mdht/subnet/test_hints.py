from mdht.subnet.hints import QUESTIONS_MAX, Hints, Questions


def test_beyond_their_number_the_hint_unused_for_longest_goes() -> None:
    hints = Hints(ttl_s=60.0, most=3)
    keys = [bytes((number,)) * 20 for number in range(4)]
    for key in keys[:3]:
        hints.learn(key, (b"hosthost",), 0.0)
    hints.holders(keys[0], 1.0)
    hints.learn(keys[3], (b"hosthost",), 1.0)
    assert [bool(hints.holders(key, 2.0)) for key in keys] == [True, False, True, True]
    hints.forget(keys[1], b"hosthost")
    assert len(hints) == 3


def test_heard_questions_are_bounded() -> None:
    questions = Questions()
    for number in range(2 * QUESTIONS_MAX):
        questions.heard(number.to_bytes(20, "big"), float(number))
    assert len(questions) == QUESTIONS_MAX
