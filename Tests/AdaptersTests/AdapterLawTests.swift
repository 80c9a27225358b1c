import Autodiff
import Networks
import Testing
import Weights

@testable import Adapters

/// What every adapter promises, for every specimen of the table in `Specimen.swift` and over every packing of a base.
struct AdapterLawTests {
  @Test(arguments: specimens, Specimen.packings)
  func `A fresh adapter changes nothing`(_ specimen: Specimen, _ packing: Packing) throws {
    let base = specimen.logits(try specimen.base(packing))
    let fresh = specimen.logits(try specimen.fresh(packing).model)
    // At 0 the bits must agree, and so they do where the distance is 0.
    #expect(Specimen.distance(fresh, base) <= specimen.startTolerance)
  }

  @Test(arguments: specimens, Specimen.packings)
  func `A few steps lower the loss`(_ specimen: Specimen, _ packing: Packing) throws {
    let fresh = try specimen.fresh(packing).model
    #expect(specimen.loss(specimen.trained(fresh)) < 0.99 * specimen.loss(fresh))
  }

  @Test(arguments: specimens, Specimen.packings)
  func `Merging keeps the output, or is refused before training`(_ specimen: Specimen, _ packing: Packing) throws {
    #expect(try declaredMerging(specimen) == [specimen.merging])
    if case .never = specimen.merging { return }
    let trained = specimen.trained(try specimen.fresh(packing).model)
    func merged(_ model: some TextNetwork) -> any TextNetwork { model.merged(specimen.context) }
    var folded = merged(trained)
    #expect(Specimen.distance(specimen.logits(folded), specimen.logits(trained)) <= 1e-5)
    var left = 0
    folded.forEachLinear { left += $1.adapter == nil ? 0 : 1 }
    folded.forEachEmbedding { left += $1.adapter == nil ? 0 : 1 }
    #expect(left == 0)
  }

  @Test(arguments: specimens, Specimen.packings)
  func `Training leaves every byte of the base as it was`(_ specimen: Specimen, _ packing: Packing) throws {
    let fresh = try specimen.fresh(packing).model, before = Specimen.frozenParts(fresh)
    let trained = specimen.trained(fresh)
    let (now, hasLearned) = (
      Specimen.frozenParts(trained),
      zip(trained.trainableParameters, fresh.trainableParameters).contains { $0.value != $1.value }
    )
    #expect(changed(before, now) == [] && hasLearned)
    if !specimen.movesBase {
      #expect(changed(Specimen.matrices(try specimen.base(packing)), Specimen.matrices(fresh)) == [])
    }
  }

  @Test(arguments: specimens, Specimen.packings)
  func `Saving and loading restore the output`(_ specimen: Specimen, _ packing: Packing) throws {
    let (fresh, plan, _) = try specimen.fresh(packing)
    let trained = specimen.trained(fresh), scratch = try ScratchFolder()
    try AdapterFolder.save(trained, PEFTConfiguration(plan, baseModel: specimen.model), to: scratch.path)
    var loaded = try specimen.base(packing)
    try AdapterFolder.load(scratch.path, onto: &loaded)
    if specimen.storedTolerance > 0 {
      #expect(Specimen.distance(specimen.logits(loaded), specimen.logits(trained)) <= specimen.storedTolerance)
      return
    }
    #expect(Specimen.distance(specimen.logits(loaded), specimen.logits(trained)) == 0)
    #expect(loaded.trainableParameters.map(\.name) == trained.trainableParameters.map(\.name))
    let differing = zip(loaded.trainableParameters, trained.trainableParameters).filter { $0.value != $1.value }
    #expect(differing.map(\.0.name) == [])
    #expect(loaded.trainableParameters.map(\.role) == trained.trainableParameters.map(\.role))
  }

  @Test(arguments: specimens)
  func `It trains as many numbers as its formula says`(_ specimen: Specimen) throws {
    let (model, _, report) = try specimen.fresh(.float32)
    let expected = specimen.sizes(report, in: model).reduce(specimen.otherParameters) { $0 + specimen.parameters($1) }
    #expect(model.trainableParameters.reduce(0) { $0 + $1.value.count } == expected)
    #expect(specimen.sizes(report, in: model).count == report.sites.count && !report.sites.isEmpty)
  }

  @Test(arguments: specimens)
  func `One seed gives one result, and another seed another where chance has a part`(_ specimen: Specimen) throws {
    func run(_ seed: UInt64) throws -> (start: [Tensor], end: [Tensor]) {
      let fresh = try specimen.fresh(.float32, seed: seed).model
      let trained = specimen.trained(fresh, seed: seed)
      return (fresh.trainableParameters.map(\.value), trained.trainableParameters.map(\.value))
    }
    let (first, again, other) = (try run(7), try run(7), try run(8))
    let isRepeated = first.start == again.start && first.end == again.end, isOther = first.start != other.start
    #expect(isRepeated && isOther == specimen.startsByChance)
  }

  @Test(arguments: specimens)
  func `Adding a target leaves the other targets' start alone`(_ specimen: Specimen) throws {
    func start(_ targets: GraftPlan.Targets?) throws -> [String: Tensor] {
      let parameters = try specimen.fresh(.float32, targets: targets).model.trainableParameters
      return Dictionary(uniqueKeysWithValues: parameters.map { ($0.name, $0.value) })
    }
    let few = try start(nil), more = try start(specimen.moreTargets)
    let moved = few.keys.filter { more[$0] != few[$0] }.sorted()
    #expect(!few.isEmpty && moved == [])
    #expect(more.count > few.count || specimen.plan.targets == .allLinear)
  }

  @Test(arguments: specimens)
  func `Every stored parameter is visited, once and by a name of its own`(_ specimen: Specimen) throws {
    for adapter in try adapters(specimen) {
      var copy = adapter
      var visited: [Tensor] = [], names: Set<String> = []
      copy.forEachParameter { name, parameter in
        visited.append(parameter.value)
        #expect(names.insert(name).inserted, "\(name) is visited twice")
      }
      let stored = storedParameters(of: adapter)
      let isComplete = sorted(visited) == sorted(stored)
      #expect(!stored.isEmpty && isComplete, "\(visited.count) of \(stored.count) parameters of \(type(of: adapter))")
    }
  }

  @Test(arguments: specimens)
  func `What is set through a visit is what computes`(_ specimen: Specimen) throws {
    let fresh = try specimen.fresh(.float32).model
    // Each number moves a little, since a product's factors must both be other than zero for either to matter.
    func moved(but kept: String? = nil) -> Tensor {
      var model = fresh
      model.forEachParameter { name, parameter in
        guard parameter.isTrainable, name != kept else { return }
        let shape = parameter.value.shape
        parameter.value = parameter.value + .normal(shape, deviation: 0.02, from: RandomKey(seed: 5)[name])
      }
      return specimen.logits(model)
    }
    let all = moved()
    let idle = fresh.trainableParameters.map(\.name).filter { Specimen.distance(moved(but: $0), all) == 0 }
    #expect(idle == [])
  }

  @Test func `Every family of the catalogue is in the table of specimens`() throws {
    var seen: Set<ObjectIdentifier> = []
    for specimen in specimens {
      for adapter in try adapters(specimen) { seen.insert(ObjectIdentifier(type(of: adapter))) }
    }
    func missing(_ families: [Any.Type]) -> [String] {
      families.filter { !seen.contains(ObjectIdentifier($0)) }.map { "\($0)" }
    }
    #expect(missing(Catalogue.linear.map { $0 as Any.Type }) == [])
    #expect(missing(Catalogue.embedding.map { $0 as Any.Type }) == [])
    #expect(missing(Catalogue.block.map { $0 as Any.Type }) == [])
    // A language model has no convolutions; `CLRTests` and `ImageAdapterTests` hold their families to the same laws.
    let convolutional = Set(Catalogue.convolution.map { $0.method }).subtracting(Catalogue.linear.map { $0.method })
    #expect(Set(specimens.map(\.plan.method)) == Set(Catalogue.methods).subtracting(convolutional))
    #expect(Set(specimens.map(\.name)).count == specimens.count)
  }

  /// The adapters of the specimen's model, of every kind.
  private func adapters(_ specimen: Specimen) throws -> [any Module] {
    var model = try specimen.fresh(.float32).model
    var found: [any Module] = []
    model.forEachLinear { if let adapter = $1.adapter { found.append(adapter) } }
    model.forEachEmbedding { if let adapter = $1.adapter { found.append(adapter) } }
    model.forEachConvolution { if let adapter = $1.adapter { found.append(adapter) } }
    model.forEachBlock { if let adapter = $1.adapter { found.append(adapter) } }
    return found
  }

  /// What the adapters of the specimen say of folding.
  private func declaredMerging(_ specimen: Specimen) throws -> [Merging] {
    let settings = specimen.plan.settings
    func ask<A: Adapter>(_ adapter: A) throws -> Merging { A.merging(try A.configuration(settings, at: "q_proj")) }
    func ask<A: BlockAdapter>(branch adapter: A) throws -> Merging {
      A.merging(try A.configuration(settings, at: "mlp"))
    }
    var all: [Merging] = []
    for adapter in try adapters(specimen) {
      let answer: Merging
      switch adapter {
      case let adapter as any Adapter: answer = try ask(adapter)
      case let adapter as any BlockAdapter: answer = try ask(branch: adapter)
      default: continue
      }
      if !all.contains(answer) { all.append(answer) }
    }
    return all
  }
}

/// The names under which two models hold different bytes.
private func changed(_ a: [String: [UInt8]], _ b: [String: [UInt8]]) -> [String] {
  Set(a.keys).union(b.keys).filter { a[$0] != b[$0] }.sorted()
}

/// Every parameter that reflection finds in `value`, however deep.
private func storedParameters(of value: Any) -> [Tensor] {
  switch value {
  case let parameter as Parameter: return [parameter.value]
  case is Tensor, is FrozenWeight: return []
  default: return Mirror(reflecting: value).children.flatMap { storedParameters(of: $0.value) }
  }
}

private func sorted(_ tensors: [Tensor]) -> [[Float]] {
  tensors.map { $0.shape.dimensions.map(Float.init) + $0.values }.sorted { $0.lexicographicallyPrecedes($1) }
}
