"""Do two answers say the same?"""

import pytest

from costguard_core.cache.semantic.comparator.comparator import TextComparator


@pytest.fixture
def compare():
    comparator = TextComparator()
    for number in range(60):  # what this assistant always says
        comparator.observe(f"Sure! Subject {number} costs {number} points. Let me know if you need anything else.")
    return comparator


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("Paris.", "Paris."),
        ("Refunds take 5 days.", "A refund takes five days."),
        ('{"a": 1, "b": [2]}', '{"b":[2],"a":1.0}'),
        (
            "Go to Settings and choose Privacy.",
            "Sure! In Settings, choose Privacy. Let me know if you need anything else.",
        ),
        ("Yes, dogs are welcome in the hotel.", "Dogs are welcome in our hotel, yes."),
        ("You pay $182 in total.", "The price is 182 dollars."),
        (
            "Transfer the kettle by post; $19, 2 days.",
            "Steps:\n1) Transfer the kettle by post\n2) Pay $19\n3) Wait 2 days",
        ),
        ("No, parking is not possible.", "Unfortunately parking is not available."),
        ("No problem at all. Your mortgage was moved.", "Sure thing, your mortgage has been moved!"),
        ("It is located in Oslo.", "You will find it in Oslo."),
        (
            "Block the card in the app if you see a strange payment, and phone our fraud team at once.",
            "A strange payment? Phone the fraud team at once; before, block your card through the app.",
        ),
        (
            "In Scotland two witnesses watch you sign the will.",
            "Under Scottish law you sign the will, watched by two witnesses.",
        ),
    ],
)
def test_the_same(compare, a, b):
    assert compare(a, b).same is True
    assert compare(b, a).same is True


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("Refunds take 5 days.", "Refunds take 7 days."),
        ('{"a": 1}', '{"a": 2}'),
        ('{"a": 1}', "a is 1"),
        ("Yes, that is allowed on the train.", "No, that is not allowed on the train."),
        ("You can return worn shoes.", "You can not return worn shoes."),
        ("The lights are on now.", "The lights are off now."),
        ("Ask for Miller at the desk.", "Ask for Jones at the desk."),
        ("Pay 200 dollars.", "Pay 200 euros."),
        ("change gift card", "find gift card"),
        ("find address", "share address"),
        ("Parking is possible.", "I'm afraid parking is not possible."),
        ("Parking is available.", "Parking is unavailable."),
        ("You pay $182 in total.", "The price is 128 dollars."),
        ("It is located in Oslo.", "You will find it in Turin."),
        ("You can move the licence yourself, in the account.", "You can't move the licence yourself; call us."),
        ("The parcel is left with the porter.", "The parcel is left with a neighbour."),
        ("Done. Your invoice was archived.", "Done. Your playlist was archived."),
        (
            "Sure! Bananas are yellow. Let me know if you need anything else.",
            "Sure! Rent is due. Let me know if you need anything else.",
        ),
    ],
)
def test_not_the_same(compare, a, b):
    assert compare(a, b).same is False
    assert compare(b, a).same is False


@pytest.mark.parametrize(("a", "b"), [("…", "Paris"), ("Okay, one moment please.", "Paris."), ("Done.", "All right!")])
def test_what_says_nothing_cannot_be_told(compare, a, b):
    assert compare(a, b).same is None
    assert compare(b, a).same is None


def test_a_word_that_many_answers_contain_tells_little():
    told = "The concierge thinks about {} now.", "Beautiful weather while {} is prepared."
    fresh, learned = TextComparator(), TextComparator()
    for number in range(200):
        learned.observe(told[number % 2].format(f"topic{chr(97 + number % 26)}{chr(97 + number // 26)}"))
    same = [template.format("the mortgage") for template in told]
    assert fresh(*same).same is None
    assert learned(*same).same is True
    other = told[0].format("the mortgage"), told[1].format("the vaccine")
    assert learned(*other).same is False


def test_vectors_decide_where_only_some_words_are_common():
    pair = "Violet garments suit a summer party.", "At an august party, visitors wear Lilac garments."

    def one_meaning(text):
        return (1.0, 0.1 * ("Lilac" in text))

    def two_meanings(text):
        return (1.0, 5.0 * ("Lilac" in text))

    assert TextComparator()(*pair).same is None
    assert TextComparator(two_meanings)(*pair).same is None
    assert TextComparator(one_meaning)(*pair).same is True


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("The monthly limit for transfers is €900.", "You can send at most 900 euros in a month."),
        ("Entry is free for children under 6.", "Children don't pay anything until they are 6."),
        ("You must give notice 30 days before you leave.", "Tell us at least 30 days prior to your departure."),
    ],
)
def test_the_same_numbers_in_other_words_are_not_called_different(a, b):
    for one, other in ((a, b), (b, a)):
        assert TextComparator()(one, other).same is not False


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("Staff get 20 days of leave each year.", "Staff get 20 weeks of parental leave."),
        ("Run `git reset file` to take it out.", "Run `git restore file` to get it back."),
        ("You pay $40 for it.", "You don't pay $40 for it."),
        ("It opens at 9 am.", "It closes at 5 pm."),
    ],
)
def test_another_unit_or_command_is_another_answer(a, b):
    for one, other in ((a, b), (b, a)):
        assert TextComparator()(one, other).same is False


def test_one_duration_may_be_said_in_two_units(compare):
    assert compare("Refunds take 14 days.", "A refund takes two weeks.").same is not False


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("The kiosk is closed on Fridays.", "The kiosk does not open on Fridays."),
        ("Entry to the tower is free.", "There is no charge for entry to the tower."),
        ("Bikes are not allowed in the hall.", "Bikes are forbidden in the hall."),
        ("Your photos are erased at once.", "All your photos are deleted at once."),
    ],
)
def test_a_denied_opposite_a_free_entry_and_a_synonym_say_the_same(compare, a, b):
    assert compare(a, b).same is True
    assert compare(b, a).same is True


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("Tables cannot be reserved before June.", "Tables are only reserved from June on."),
        ("You can't use two coupons for one ticket.", "Only one coupon can be used for each ticket."),
    ],
)
def test_no_in_other_words_is_not_called_different(compare, a, b):
    assert compare(a, b).same is not False


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("Members bring a guest free of charge.", "Members pay the full price for a guest."),
        ("The date can be moved until boarding.", "The date can be moved after boarding."),
        ("The kiosk is open on Fridays.", "The kiosk does not open on Fridays."),
    ],
)
def test_free_and_paid_and_before_and_after_are_different(compare, a, b):
    assert compare(a, b).same is False
    assert compare(b, a).same is False


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("Tulips grow from bulbs and flower in April.", "In spring, from a bulb, you get a blossoming tulip."),
        ("Yes, you can move the date unless the coach has left.", "Until departure the date may be changed."),
        ("We don't rent bikes at the moment.", "Unfortunately, renting bikes is not possible right now."),
        ("No glacier is longer than this one.", "This glacier is longer than any other."),
        ("The trip takes about an hour in light traffic.", "If the roads are empty, expect 60 minutes."),
        ("Grill it at 180 °C for 20 minutes.", "It needs 20 min under the grill at 180 degrees."),
        ("Overtime earns 150% of the wage.", "For overtime the wage is one and a half times as high."),
        ("Take 2 tablets of 200 mg, at most 1 g.", "Swallow 200 mg or 400 mg; never exceed 1 g."),
        ("Yes, the lamp runs from its battery.", "The lamp works without a cable."),
        ("The mast is 30 m high.", "Its height is 30 metres, the mast's."),
        (
            "Find the sunken screw at the back of the heater and hold it down with a thin nail until the bulb is red.",
            "Find the screw at the back of the heater, hold it down with a key, and let go when the light is red.",
        ),
    ],
)
def test_rewording_is_not_called_different(a, b):
    for one, other in ((a, b), (b, a)):
        assert TextComparator()(one, other).same is not False


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("Some rooms have a balcony.", "All rooms have a balcony."),
        ("You should wear a helmet.", "You must wear a helmet."),
        ("Only members may vote here.", "Everyone may vote here."),
        ("The permit ends automatically after a year.", "The permit renews automatically after a year."),
        (
            "Parking costs money, and guests may pay by card or coin.",
            "Parking costs money, and guests may pay by card only.",
        ),
        ("The landlord usually repairs the roof and the stairs.", "The tenant usually repairs taps he uses daily."),
        ("Signs are weight loss, a fast pulse and fever.", "Look for weight gain and, in some people, a slow pulse."),
        (
            "Visitors can change the date until the day before.",
            "Unfortunately the date visitors booked cannot be changed. Visitors cannot change it.",
        ),
    ],
)
def test_one_word_that_changes_the_sense_is_another_answer(a, b):
    for one, other in ((a, b), (b, a)):
        assert TextComparator()(one, other).same is False


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("`tar -xf <archive>` unpacks an archive.", "An archive is unpacked with `tar -xf`."),
        ("Remove duplicates with `frame.drop_duplicates()`.", "`drop_duplicates()` removes duplicates from the frame."),
        ("Victims were owed money by the bank.", "The bank had to pay victims money."),
        (
            "Moths can't see red light, so use a red lamp to watch them at night.",
            "At night watch moths by a red lamp; red light is invisible to a moth.",
        ),
    ],
)
def test_what_stands_for_something_and_a_no_in_another_order_are_no_contradiction(a, b):
    for one, other in ((a, b), (b, a)):
        assert TextComparator()(one, other).same is not False


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("The otter was chased by the dog.", "The otter chased the dog."),
        ("Ask the IT desk for a key to the room.", "Ask the HR desk for a key to the room."),
        ("Undo it with `git stash pop`.", "Undo it with `git stash`."),
        ("You can move the date on a ticket for free before dinner.", "Dates on tickets can't be moved."),
        ("Any guest of the house may use the sauna.", "Only residents may use the sauna of the house."),
        ("Take the tram instead of the bus there.", "There take the bus rather than the tram."),
        ("The pool is free, but you have to pay for it on Sundays.", "The pool is free on every day, on Sundays too."),
        ("The pass covers buses but not ferries.", "The pass covers ferries but not buses."),
        (
            "Count the rows of each town with frame.value_counts(town) and show them.",
            "Show the rows of each town with frame.nlargest(town) and count them.",
        ),
    ],
)
def test_who_does_it_to_whom_and_more_of_a_command_are_not_called_the_same(a, b):
    for one, other in ((a, b), (b, a)):
        assert TextComparator()(one, other).same is not True


def test_what_differs_is_told_as_often_as_what_is_equal_where_answers_are_made_from_templates():
    """What cannot be told gives no label: were it mostly the different pairs, the rest would look better than it is."""
    templates = "Sure, {} is on its way to you now.", "Okay, we look after {} at once, please wait."
    topics = [f"{kind} {part}" for kind in ("garden", "violin", "tent") for part in ("insurance", "delivery", "repair")]
    compare = TextComparator()
    for _ in range(5):
        for topic in topics:
            for template in templates:
                compare.observe(template.format(topic))
    equal = [compare(*(template.format(topic) for template in templates)).same for topic in topics]
    near = [(a, b) for a in topics for b in topics if a != b and set(a.split()) & set(b.split())]
    other = [compare(templates[0].format(a), templates[1].format(b)).same for a, b in near]
    assert False not in equal
    assert True not in other
    assert other.count(None) / len(other) <= equal.count(None) / len(equal)


def test_long_answers_that_have_little_in_common_are_different():
    a = (
        "An orchid needs bright light without direct sun, so a window to the east is a good place. Water it once in a "
        "week by dipping its pot, let the roots dry between, and give fertiliser in summer. Repot the plant every "
        "other spring in coarse bark, and cut withered flower stems above the second knot."
    )
    b = (
        "A cactus wants a sandy soil and a window to the south. In winter it rests in a cool room and gets nothing to "
        "drink, otherwise it rots. Its spines catch dust, which a soft brush removes. Offsets that break off grow into "
        "a new plant after a few days of drying on paper."
    )
    assert TextComparator()(a, b).same is False
