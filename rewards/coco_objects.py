"""What people call the 80 object categories of COCO, and phrases that only look like one of them.

Phrases are separated by commas; their regular plurals are understood. Where everyday words are broader than COCO's
categories (a van, a stove, a computer), a word stands for the category that such objects mostly have there.
"""

from collections.abc import Iterable

from rewards.phrases import Phrases

CATEGORIES: dict[str, str] = {
    "person": """people, man, woman, boy, girl, child, kid, baby, toddler, infant, lady, guy, gentleman, adult, teen,
        teenager, youth, human, male, female, player, batter, hitter, catcher, umpire, referee, pitcher, goalie,
        skier, snowboarder, surfer, skateboarder, skater, rider, cyclist, bicyclist, biker, motorcyclist, bike rider,
        motorcycle rider, horseback rider, kite surfer, kite boarder, kiteboarder, windsurfer, wind surfer, swimmer,
        hiker, jockey, officer, policeman, policewoman, police, cop, fireman, firefighter, fire fighter, soldier,
        worker, workman, chef, waiter, waitress, bartender, driver, passengers, commuters, pedestrian, crowd,
        spectator, audience, couple, family, bride, groom, mother, father, mom, dad, son, daughter, brother, sister,
        husband, wife, grandmother, grandfather, student, teacher, doctor, nurse, cowboy, farmer, athlete, tourist,
        shopper, vendor, customer, fisherman, businessman, businesswoman, musician, friend, tennis player, baseball
        player, ball player, soccer player, football player, basketball player, frisbee player, skate boarder, snow
        boarder, train conductor, bus driver, truck driver, base ball player, batsman, outfielder""",
    "bicycle": "bike, push bike, mountain bike, cycle, tandem",
    "car": """automobile, sedan, suv, hatchback, minivan, mini van, van, jeep, taxi, taxi cab, taxicab, cab, limo,
        limousine, coupe, convertible, police car, police cruiser, race car, sports car, passenger car, passenger van,
        station wagon""",
    "motorcycle": "motorbike, motor bike, motor cycle, motor scooter, scooter, moped, dirt bike, dirtbike, vespa",
    "airplane": """plane, air plane, aeroplane, jet, jet plane, jet airplane, passenger airplane, commuter plane,
        jetliner, jet liner, airliner, air liner, aircraft, biplane, seaplane, sea plane, passenger jet, passenger
        plane, fighter jet, propeller plane, jumbo jet, airbus""",
    "bus": """coach bus, tour bus, school bus, city bus, double decker, double decker bus, minibus, passenger bus,
        commuter bus""",
    "train": """locomotive, train engine, train car, train cars, subway, subway train, subway car, tram, tram car,
        trolley, trolley car, street car, streetcar, rail car, railcar, box car, boxcar, railway car, railroad car,
        passenger train, freight train, commuter train, double decker train, steam engine, monorail, passenger cars,
        model train, toy train""",
    "truck": """pickup, pick up truck, pickup truck, fire truck, firetruck, fire engine, semi truck, semi trailer,
        lorry, tow truck, dump truck, food truck, tractor trailer, eighteen wheeler, 18 wheeler, garbage truck,
        delivery truck""",
    "boat": """ship, sailboat, sail boat, motorboat, motor boat, speedboat, speed boat, rowboat, row boat, canoe,
        kayak, yacht, ferry, gondola, tugboat, tug boat, fishing boat, cruise ship, barge, dinghy, raft, passenger
        ferry, catamaran, vessel""",
    "traffic light": """traffic signal, stop light, stoplight, trafficlight, street signal, signal light, traffic
        lamp, red light, green light""",
    "fire hydrant": "hydrant, fire plug, water hydrant, firehydrant",
    "stop sign": "stopsign, stop signal",
    "parking meter": "meter, parking metre",
    "bench": "park bench, park benches",
    "bird": """duck, duckling, goose, gosling, seagull, sea gull, gull, pigeon, parrot, owl, eagle, hawk, swan,
        rooster, hen, flamingo, pelican, ostrich, crow, robin, sparrow, peacock, penguin, heron, stork, dove, finch,
        parakeet, cockatoo, falcon, woodpecker, hummingbird, humming bird, toucan, egret, ibis, vulture, cardinal,
        birdie""",
    "cat": "kitten, kitty, feline, tabby, kitty cat, tabby cat, house cat",
    "dog": """puppy, pup, canine, doggy, poodle, labrador, dachshund, terrier, bulldog, bull dog, pug, corgi,
        retriever, beagle, collie, chihuahua, husky, dalmatian, sheepdog, sheep dog, german shepherd, greyhound, pit
        bull, pitbull""",
    "horse": "pony, foal, colt, mare, stallion",
    "sheep": "lamb, ram, ewe",
    "cow": "cattle, bull, calf, ox, heifer, steer, bovine, longhorn",
    "elephant": "",
    "bear": "grizzly, grizzly bear, polar bear, black bear, brown bear, panda, panda bear, bear cub, cub",
    "zebra": "",
    "giraffe": "",
    "backpack": "back pack, knapsack, rucksack, book bag, bookbag",
    "umbrella": "parasol",
    "handbag": "hand bag, purse, pocketbook, tote bag, shoulder bag",
    "tie": "necktie, neck tie, bow tie, bowtie, neckties",
    "suitcase": "suit case, luggage, briefcase, brief case, baggage, luggage bag, piece of luggage",
    "frisbee": "frisbe, frizbee, frisby, flying disc, flying disk",
    "skis": "ski, pair of skis",
    "snowboard": "snow board",
    "sports ball": """ball, soccer ball, tennis ball, beach ball, golf ball, bowling ball, cricket ball, rugby ball,
        volley ball""",
    "kite": "parasail, para sail",
    "baseball bat": "bat, base ball bat, cricket bat",
    "baseball glove": """mitt, baseball mitt, catcher's mitt, catchers mitt, catcher's glove, catchers glove, base
        ball glove""",
    "skateboard": "skate board, longboard, long board",
    "surfboard": """surf board, boogie board, body board, bodyboard, boogieboard, paddle board, paddleboard, paddle
        boards""",
    "tennis racket": "racket, racquet, tennis racquet, tennis raquet, raquet",
    "bottle": "wine bottle, beer bottle, water bottle, bottle of wine, bottle of water, bottle of beer",
    "wine glass": """glass of wine, wineglass, champagne glass, glass of champagne, glass of red wine, glass of white
        wine""",
    "cup": """mug, teacup, tea cup, coffee cup, coffee mug, cup of coffee, paper cup, glass of water, glass of milk,
        glass of juice, glass of beer, glass of orange juice, cup of orange juice, drinking glass""",
    "fork": "",
    "knife": "pocket knife, butter knife, steak knife",
    "spoon": "tablespoon, teaspoon",
    "bowl": "cereal bowl, soup bowl",
    "banana": "plantain, banana bunch",
    "apple": "",
    "sandwich": """burger, hamburger, cheeseburger, cheese burger, ham burger, sandwhich, sandwitch, panini, grilled
        cheese, sub sandwich, submarine sandwich""",
    "orange": """oranges, tangerine, clementine, mandarin, satsuma, mandarin orange, orange slice, orange half, orange
        on, orange in, orange is, orange sitting, orange next, orange that, orange fruit, orange sliced, orange wedge,
        orange segment, orange being, orange inside, orange cut, orange beside, orange near""",
    "broccoli": "brocolli, broccolli, brocoli, broccilli, brocolis, brocholi",
    "carrot": "baby carrot",
    "hot dog": "hotdog, cheese dog, chili cheese dog, chili dog, chilli dog, chilidog, frankfurter, corn dog, corndog",
    "pizza": "pizza pie, pizza slice, cheese pizza",
    "donut": "doughnut, dough nut, donut hole, doughnut hole",
    "cake": "cupcake, cup cake, birthday cake, wedding cake, cheesecake, cheese cake, carrot cake, chocolate cake",
    "chair": """armchair, arm chair, recliner, stool, bar stool, barstool, lawn chair, high chair, highchair, beach
        chair, rocking chair, office chair, folding chair""",
    "couch": "sofa, loveseat, love seat, futon, settee",
    "potted plant": """house plant, houseplant, plant pot, flower pot, pot plant, pot of flowers, planter, potted
        flower, potted tree, potted cactus, plant in a pot, plants in pots""",
    "bed": "bunk bed, bunkbed, mattress, hospital bed, crib",
    "dining table": """table, desk, dining room table, kitchen table, coffee table, picnic table, wooden table,
        tabletop, table top, computer desk, office desk, end table, side table, dinner table, bedside table""",
    "toilet": "urinal, commode, toilet seat, toilet bowl, toilet lid, toilet tank, potty, toliet",
    "tv": """television, tv set, television set, tv screen, television screen, monitor, computer monitor, computer
        screen, desktop computer monitor, flat screen, flat screen tv, flatscreen, flatscreen tv, flat screen
        television""",
    "laptop": """laptop computer, lap top, notebook computer, macbook, netbook, computer, computer laptop, lap top
        computer, apple laptop, apple computer""",
    "mouse": "computer mouse, computer mice, mouses",
    "remote": """remote control, tv remote, television remote, tv remote control, wii remote, wiimote, wii controller,
        game controller, video game controller, controller, remote controller, nintendo wii controller""",
    "keyboard": "computer keyboard, key board",
    "cell phone": """phone, cellphone, mobile phone, cellular phone, telephone, smartphone, smart phone, iphone, flip
        phone, blackberry""",
    "microwave": "microwave oven",
    "oven": "stove, stovetop, stove top, stove top oven, stove oven, oven stove, range oven, cooker",
    "toaster": "",
    "sink": "wash basin, washbasin, basin, bathroom sink, kitchen sink, double sink",
    "refrigerator": "fridge, freezer, refridgerator, refrigerater, refrigerator freezer",
    "book": "textbook, text book, paperback, comic book, novel, cookbook, cook book",
    "clock": "clock face, alarm clock, grandfather clock, wall clock, clock tower, clocktower",
    "vase": "flower vase",
    "scissors": "scissor, shears, pair of scissors",
    "teddy bear": "teddy, teddybear, stuffed bear, stuffed teddy, stuffed teddy bear, toy bear, stuffed toy bear",
    "hair drier": "hair dryer, hairdryer, hairdrier, blow dryer, blow drier, blowdryer",
    "toothbrush": "tooth brush, electric toothbrush",
}

# The last one is mostly a colour: as a fruit it counts in the plural, and before the words listed above.
IGNORED = """
    couple of, couple pieces, couple plates, couple slices, couple different, family of, no people, its baby, it's
    baby, its mother, its foal, its calf, its cub, it's mother, cubs uniform, chicago cubs, driver's seat, drivers
    seat, snow man, man made, man hole, cd player, dvd player, record player, mp3 player, music player, media player,
    pitcher of, lady bug, baby stroller, baby carriage, baby goat, baby food, child's room, men's room, police
    station, baby grand piano, family room, bike rack, bike path, bike lane, bike trail, bicycle rack, bicycle lane,
    bicycle path, bike shop, exercise bike, car seat, cable car, car park, car wash, cab of, coupe of, jet ski,
    jetski, jet engine, plane ticket, air craft carrier, aircraft carrier, bus stop, bus station, bus shelter, bus
    lane, bus terminal, bus depot, train track, train tracks, train station, train platform, train yard, train depot,
    train stop, train terminal, train set, train rail, train line, train crossing, subway station, subway platform,
    subway sandwich, trolley track, tram track, truck bed, truck stop, ship yard, gravy boat, boat dock, boat house,
    boat ramp, boat yard, street light, cow boy, cow girl, cow bell, bull's eye, hot dog stand, hot dog cart, hot dog
    vendor, dog house, dog tag, bird house, bird cage, bird feeder, bird bath, rubber duck, rubber ducky, duck tape,
    duck pond, chicken coop, crow bar, cat tail, cat fish, rocking horse, toy horse, horse radish, horse drawn, horse
    trailer, horse shoe, lamb chop, battering ram, sheep skin, zebra crossing, zebra print, zebra stripes, gummy bear,
    bear foot, mickey mouse, minnie mouse, mouse pad, mousepad, tie dye, tie dyed, railroad tie, to tie, ski slope,
    ski lift, ski resort, ski pole, ski jump, ski suit, ski gear, ski trail, ski boot, ski area, ski run, ski hill,
    ski course, ski track, ski lodge, ski mask, ski goggles, ski outfit, ski jacket, ski clothes, ski equipment, ski
    path, ski race, ski competition, ski pants, ski patrol, ski instructor, ski school, ski park, ski ramp, ski
    attire, ski helmet, ski vest, ski hat, ski coat, ski class, ski tracks, ski group, ski event, ski down, to ski,
    water ski, ball game, ball field, ball park, ball cap, ball gown, ball court, ball room, ball of yarn, disco ball,
    christmas ball, meat ball, at bat, to bat, up to bat, base ball, foot ball, basket ball, oven mitt, skate board
    park, skateboard park, skateboard ramp, skateboard trick, surf board shop, kite boarding, kite surfing, kite
    board, bottle opener, bottle cap, cup holder, world cup, fork lift, fork in the road, super bowl, bowl cut, fish
    bowl, banana split, banana bread, banana tree, banana peel, banana pepper, apple tree, apple pie, apple juice,
    apple cider, apple sauce, apple logo, apple store, pine apple, orange juice, orange tree, orange peel, carrot top,
    pizza box, pizza cutter, pizza oven, pizza parlor, pizza place, pizza shop, pizza restaurant, pizza hut, pizza
    sauce, pizza dough, pizza crust, donut shop, doughnut shop, donut machine, cake pan, cake stand, cake mix, crab
    cake, rice cake, pan cake, chair lift, ski chair, couch potato, flower bed, bed of flowers, bed of lettuce, bed of
    rice, bed of a truck, bed of the truck, river bed, bed spread, dog bed, flat bed, bed room, bed sheet, bed side,
    pool table, table tennis, table cloth, ping pong table, toilet paper, toilet brush, toilet tissue, toilet roll,
    toilet paper roll, toilet paper holder, toilet room, toilet stall, toilet cleaner, tv show, tv stand, tv room,
    television stand, television show, tv tray, desktop computer, computer generated, computer room, computer lab,
    computer parts, computer chip, computer equipment, computer tower, computer bag, computer game, remote location,
    remote area, remote island, remote controlled, remote field, remote road, remote beach, piano keyboard, musical
    keyboard, head phone, phone booth, pay phone, telehead phone, telephone pole, phone pole, phone line, toaster
    oven, kitchen range, sink hole, luggage rack, luggage cart, book shelf, book case, book store, book shop, stuffed
    animal, clock shop, scissor lift, orange in color, orange colored, orange
"""

# An animal of its own kind, not also a person: "a baby elephant", "a mother bear and her cub".
YOUNG_AND_OLD = "baby, mother, mom, mama, momma, father, adult, male, female, young male, young female, child"
ANIMALS = ("bird", "cat", "dog", "horse", "sheep", "cow", "elephant", "bear", "zebra", "giraffe")


def phrases(listed: str) -> list[str]:
    """The phrases of a comma-separated list."""
    return [" ".join(phrase.split()) for phrase in listed.split(",") if phrase.strip()]


def coco_lexicon(ignored: Iterable[str] = ()) -> Phrases:
    """The names of COCO's 80 categories in everyday captions, less more phrases to be ignored."""
    names = {name: phrases(synonyms) for name, synonyms in CATEGORIES.items()}
    for animal in ANIMALS:
        kinds = [animal, *names[animal]]
        names[animal] += [f"{animal} calf"] * (animal in ("elephant", "giraffe"))
        names[animal] += _distinct(f"{age} {kind}" for age in phrases(YOUNG_AND_OLD) for kind in kinds)
    return Phrases(names, ignored=[*phrases(IGNORED), *ignored])


def _distinct(listed: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(listed))
